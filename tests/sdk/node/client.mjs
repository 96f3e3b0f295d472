// Real clients of the official TypeScript SDK, all at once; prints what they did as JSON, like client.py.
//
//     node client.mjs http|sse URL CLIENTS

import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
  ProgressNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { run } from "./sessions.mjs";

const STEPS = 5;

const [kind, url, clients] = [process.argv[2], new URL(process.argv[3]), Number(process.argv[4])];

async function live(replicas) {
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
  });
  let [progress, resumed] = [0, false];
  // Counted here: the SDK drops what it reads together with the result of the call.
  client.setNotificationHandler(ProgressNotificationSchema, () => {
    progress++;
  });

  async function call(name, args = {}) {
    const result = await client.callTool({ name, arguments: args }, undefined, { onprogress() {} });
    assert(!result.isError, JSON.stringify(result.content));
    return result.structuredContent;
  }

  async function watched(address, options) {
    if (new Headers(options?.headers).has("last-event-id")) resumed = true;
    return fetch(address, options);
  }

  const Transport = kind === "http" ? StreamableHTTPClientTransport : SSEClientTransport;
  const transport = new Transport(url, { fetch: watched });
  await client.connect(transport);
  const transcript = ["initialize", (await client.listTools()).tools.map(({ name }) => name).sort()];
  for (let number = 1; number <= STEPS; number++) {
    const counted = await call("count");
    replicas.add(counted.replica);
    transcript.push(counted.count);
  }
  transcript.push(await call("work", { steps: STEPS }), await call("think"), await call("choose"));
  if (kind === "http") transcript.push(await call("interrupted"));
  while (!announced) {
    await call("announce"); // the GET stream may not be open yet
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  transcript.push("announced");
  const end = { progress };
  if (kind === "http") {
    const headers = {
      "mcp-session-id": transport.sessionId,
      accept: "application/json, text/event-stream",
      "content-type": "application/json",
    };
    await transport.terminateSession();
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" });
    const after = await fetch(url, { method: "POST", headers, body });
    Object.assign(end, { resumed, "after DELETE": after.status });
  }
  await client.close();
  return [...transcript, end];
}

await run(clients, live);
