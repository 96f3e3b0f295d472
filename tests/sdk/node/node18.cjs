// Debian 12's node 18 has what the SDK needs, but not as a global.
globalThis.crypto ??= require("node:crypto").webcrypto;
