// Clients of the official TypeScript SDK that call again and again, as long as standard input is open. What the
// specification asks of a client when its session is gone, each does by itself: upon 404 it starts a new session,
// and upon nothing else. A line of JSON for each answer:
//
//     {"client": 7, "session": 2, "at": 1.234, "status": 200, "replica": "amber", "count": 5, "took": 0.004}
//
// at: seconds since the start, session: how many the client has started; status 0: no answer at all.
//
//     node steady.mjs URL CLIENTS PAUSE [TOOL]

import { setTimeout } from "node:timers/promises";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, clients, pause] = [new URL(process.argv[2]), Number(process.argv[3]), Number(process.argv[4])];
const tool = process.argv[5] ?? "count";
let ended = false;

async function live(number) {
  let [session, mcp] = [0, null];

  async function connect() {
    const client = new Client({ name: "steady", version: "1.0.0" });
    await client.connect(new StreamableHTTPClientTransport(url));
    mcp = client;
    session++;
  }

  async function answer() {
    if (!mcp) await connect();
    const { structuredContent, content } = await mcp.callTool({ name: tool, arguments: {} });
    // Of server-everything's tools only get-env tells where it runs.
    const { replica, count } = structuredContent ?? { replica: JSON.parse(content[0].text).REPLICA };
    return { status: 200, replica, count };
  }

  await setTimeout(pause * 1000 * Math.random()); // not all in step
  while (!ended) {
    const begin = performance.now();
    const said = await answer().catch((error) => ({ status: error.code > 0 ? error.code : 0, error: String(error) }));
    const took = (performance.now() - begin) / 1000;
    console.log(JSON.stringify({ client: number, session, at: performance.now() / 1000, took, ...said }));
    if (said.status === 404 && mcp) {
      await mcp.close();
      mcp = null;
    }
    await setTimeout(pause * 1000);
  }
}

process.stdin.on("end", () => (ended = true)).resume();
await Promise.all(Array.from({ length: clients }, (_, number) => live(number)));
process.exit(); // whatever stream may still be open
