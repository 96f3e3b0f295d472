// Socket.IO clients that poll, upgrade, and say something all the time. Arguments: URL, number of clients, transports.
// A line on standard input asks for what has come of it: each client's server, and every error.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, number, transports] = process.argv.slice(2);
const clients = [];

function client() {
  const state = { server: "", said: 0, answers: 0, connected: 0, upgraded: 0, errors: [] };
  const socket = io(url, {
    transports: transports.split(","),
    forceNew: true,
    reconnectionDelay: 100,
    reconnectionDelayMax: 200,
  });
  socket.on("connect_error", (error) => state.errors.push(`connect_error: ${error.message}`));
  socket.on("connect", () => {
    state.connected++;
    state.server = "";
    const engine = socket.io.engine;
    if (engine.transport.name === "websocket") state.upgraded++;
    else engine.once("upgrade", () => state.upgraded++);
    say();
  });
  function say() {
    const id = socket.id;
    socket.emit("say", ({ name, said }) => {
      // An answer of a connection that is no more.
      if (id !== socket.id) return;
      if (state.server && (name !== state.server || said !== state.said + 1)) {
        state.errors.push(`${state.server} ${state.said}, then ${name} ${said}`);
      }
      [state.server, state.said] = [name, said];
      state.answers++;
      setTimeout(() => id === socket.id && say(), 20);
    });
  }
  return state;
}

for (let i = 0; i < Number(number); i++) clients.push(client());

createInterface({ input: process.stdin })
  .on("line", () => console.log(JSON.stringify(clients)))
  .on("close", () => process.exit(0));
