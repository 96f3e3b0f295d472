"""A Gradio application with a state for each session. Arguments: port, name."""

import sys

import gradio

PORT, NAME = int(sys.argv[1]), sys.argv[2]


def count(state: int) -> tuple[str, int]:
    return f"{NAME} {state + 1}", state + 1


with gradio.Blocks() as app:
    state, text, button = gradio.State(0), gradio.Textbox(), gradio.Button()
    button.click(count, [state], [text, state], api_name="count")

app.launch(server_name="127.0.0.1", server_port=PORT, quiet=True, ssr_mode=False)
