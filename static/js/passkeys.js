// Passkeys: a form that is sent asks the browser for one first, and carries what it answered.
// The server's options stand in the page, or are fetched when a person asks to sign in.

const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

function text(buffer) {
  const binary = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

const known = (list) => (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }));

function creation(options, alone) {
  const must = alone ? "required" : "discouraged";
  const chosen = { ...options.authenticatorSelection, residentKey: must, requireResidentKey: alone };
  return {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...options.user, id: bytes(options.user.id) },
    excludeCredentials: known(options.excludeCredentials),
    authenticatorSelection: alone ? { ...chosen, userVerification: "required" } : chosen,
  };
}

function answer(credential) {
  const { response } = credential;
  const parts = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];
  const given = parts.filter((part) => response[part]);
  return {
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    clientExtensionResults: credential.getClientExtensionResults(),
    response: Object.fromEntries(given.map((part) => [part, text(response[part])])),
  };
}

async function options(form) {
  const { passkeyFrom } = form.dataset;
  if (!passkeyFrom) return JSON.parse(document.getElementById("passkey-options").textContent);
  const reply = await fetch(passkeyFrom, { headers: { accept: "application/json" } });
  if (!reply.ok) throw new Error(`The server answered ${reply.status}.`);
  return await reply.json();
}

async function ask(form) {
  const told = await options(form);
  if (form.dataset.passkey === "create") {
    const alone = form.elements.passwordless.checked;
    const publicKey = creation(told.creation_options.publicKey, alone);
    return await navigator.credentials.create({ publicKey });
  }
  const { publicKey } = told.request_options;
  return await navigator.credentials.get({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey.challenge),
      allowCredentials: known(publicKey.allowCredentials),
    },
  });
}

function reason(error) {
  if (error.name === "NotAllowedError") return "No passkey was chosen, or it took too long. Try again.";
  if (error.name === "InvalidStateError") return "This device has a passkey for you already.";
  if (error.name === "SecurityError")
    return "Passkeys need a name instead of an IP address: open this page by its name, or as localhost.";
  return error.message;
}

function wire(form) {
  const wrong = form.querySelector("[data-passkey-error]");
  form.hidden = !window.PublicKeyCredential; // absent without TLS, except on localhost
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    wrong.hidden = true;
    try {
      form.elements.credential.value = JSON.stringify(answer(await ask(form)));
      form.submit();
    } catch (error) {
      wrong.textContent = reason(error);
      wrong.hidden = false;
    }
  });
}

document.querySelectorAll("[data-passkey]").forEach(wire);
