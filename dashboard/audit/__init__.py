"""What people did, append only and chained; reading it, exporting it, and checking that it is whole."""
