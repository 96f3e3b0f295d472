// A Socket.IO server, as docs/web.md has it: its id is in a cookie as well. Arguments: port, name.
import { createServer } from "node:http";
import { Server } from "socket.io";

const [port, name] = process.argv.slice(2);
const http = createServer();
const io = new Server(http, { cookie: { name: "io", path: "/" } });

io.on("connection", (socket) => {
  let said = 0;
  socket.on("say", (answer) => answer({ name, said: ++said }));
});

http.listen(Number(port), "127.0.0.1", () => console.log("ready"));
