"""Who somebody is and what they may: sign-in, and one function a question in ``permissions``."""
