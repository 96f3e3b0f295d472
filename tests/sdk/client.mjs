// Real clients of the official TypeScript SDK, all at once; prints what they did as JSON.
//
//     node client.mjs URL CLIENTS

import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

const [url, clients] = [new URL(process.argv[2]), Number(process.argv[3])];
const done = { sessions: 0, calls: 0, progress: 0, announced: 0, met: {} };

async function session() {
  const client = new Client({ name: "test", version: "1.0.0" }, { capabilities: { sampling: {}, elicitation: {} } });
  client.setRequestHandler(CreateMessageRequestSchema, () => ({
    role: "assistant",
    content: { type: "text", text: "pong" },
    model: "none",
  }));
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { colour: "green" } }));
  let announced = false;
  client.setNotificationHandler(LoggingMessageNotificationSchema, () => {
    announced = true;
    done.announced++;
  });

  async function call(name, args = {}) {
    const result = await client.callTool({ name, arguments: args }, undefined, { onprogress: () => done.progress++ });
    assert(!result.isError, JSON.stringify(result.content));
    done.calls++;
    return result.structuredContent;
  }

  const transport = new StreamableHTTPClientTransport(url);
  await client.connect(transport);
  assert.equal((await client.listTools()).tools.length, 5);
  const names = new Set();
  for (let number = 1; number <= 5; number++) {
    const counted = await call("count");
    names.add(counted.replica);
    assert.equal(counted.count, number);
  }
  assert.equal((await call("work", { steps: 5 })).result, 5);
  assert.equal((await call("think")).result, "pong");
  assert.equal((await call("choose")).result, "green");
  while (!announced) {
    await call("announce"); // the GET stream may not be open yet
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(names.size, 1);
  for (const name of names) done.met[name] = (done.met[name] ?? 0) + 1;
  await transport.terminateSession();
  await client.close();
  done.sessions++;
}

await Promise.all(Array.from({ length: clients }, session));
console.log(JSON.stringify(done));
