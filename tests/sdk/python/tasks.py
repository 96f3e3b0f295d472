"""The tasks of 2026-07-28, kept in memory. The SDK (2.x) has a place for this extension but does not ship it."""

import uuid
from datetime import UTC, datetime
from typing import Any, Literal

from mcp import MCPError
from mcp.client import ClientExtension
from mcp.client.extension import ResultClaim
from mcp.server.extension import Extension, MethodBinding
from mcp.types import INVALID_PARAMS, Request, RequestParams, Result

EXTENSION = "io.modelcontextprotocol/tasks"
VERSION = "2026-07-28"


class TaskParams(RequestParams):
    task_id: str


class Task(Result):
    """What a server says of a task; `result_type` is "task" when a tool call has become one."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    replica: str
    ttl_ms: int | None


class TaskState(Task):
    result_type: Literal["complete"] = "complete"


# Requests. `name_param` makes the client send the id as Mcp-Name, too.


class Get(Request[TaskParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    name_param = "taskId"


class Update(Request[TaskParams, Literal["tasks/update"]]):
    method: Literal["tasks/update"] = "tasks/update"
    name_param = "taskId"


class Cancel(Request[TaskParams, Literal["tasks/cancel"]]):
    method: Literal["tasks/cancel"] = "tasks/cancel"
    name_param = "taskId"


class Tasks(Extension):
    """Makes every call of the tool `later` a task.

    Arguments: `stream` asks for a stream as the answer, `foreign` for an id that no header can carry as it is.
    """

    identifier = EXTENSION

    def __init__(self, replica: str):
        self._replica = replica
        self._status: dict[str, str] = {}

    def methods(self) -> list[MethodBinding]:
        steps = {"tasks/get": None, "tasks/update": "input taken", "tasks/cancel": "cancelled"}
        return [
            MethodBinding(method, TaskParams, self._step(status), frozenset({VERSION}))
            for method, status in steps.items()
        ]

    def _step(self, status: str | None):
        async def step(context, params: TaskParams) -> dict[str, Any]:
            if params.task_id not in self._status:
                raise MCPError(INVALID_PARAMS, f"{self._replica} has no such task")
            if status:
                self._status[params.task_id] = status
            return self._describe("complete", params.task_id)

        return step

    def _describe(self, result_type: str, id: str) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat()
        return {
            "resultType": result_type,
            "taskId": id,
            "status": self._status[id],
            "createdAt": now,
            "lastUpdatedAt": now,
            "ttlMs": 600_000,
            "pollIntervalMs": 100,
            "replica": self._replica,
        }

    async def intercept_tool_call(self, params, context, call_next):
        if params.name != "later":
            return await call_next(context)
        if params.arguments["stream"]:
            await context.session.report_progress(1)  # makes the answer a stream
        id = uuid.uuid4().hex
        if params.arguments["foreign"]:
            id = f"tâche {id}"
        self._status[id] = "working"
        return self._describe("task", id)


class TaskClient(ClientExtension):
    identifier = EXTENSION

    def claims(self) -> list[ResultClaim]:
        async def resolve(task, context):
            raise NotImplementedError  # the clients here poll by themselves

        return [ResultClaim(result_type="task", model=Task, resolve=resolve)]
