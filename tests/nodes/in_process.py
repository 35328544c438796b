"""ComfyUI's executor in this process: its validation, caching and node calls, without a server."""

import asyncio
import copy

import comfy.model_management
import execution
import nodes


class Server:
    """The few attributes of the host's server that the executor uses."""

    client_id, last_node_id, last_prompt_id, sockets_metadata = "test", None, None, {}

    def __init__(self):
        self.sent = []

    def send_sync(self, event, data, sid=None):
        self.sent.append((event, data))

    def queue_updated(self):
        pass


class Executor:
    """Runs API prompts one after the other with a cache, as one session of the host does."""

    def __init__(self, cache="CLASSIC"):
        self.server = Server()
        sizes = {"lru": 400, "ram": 0.0, "ram_inactive": 0.0}
        self.executor = execution.PromptExecutor(self.server, cache_type=execution.CacheType[cache], cache_args=sizes)

    def run(self, prompt):
        """Outputs of the test's Keep nodes by name; AssertionError with the node's message on failure."""
        prompt = copy.deepcopy(prompt)  # the host writes into it what it found changed
        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
        assert (valid, node_errors) == (True, {}), f"{error} {node_errors}"
        kept = nodes.NODE_CLASS_MAPPINGS["TestKeep"].kept = {}
        self.executor.execute(prompt, "test", {"client_id": "test"}, outputs)
        if not self.executor.success:
            raise AssertionError(self.error())
        return kept

    def error(self):
        for event, data in self.executor.status_messages:
            if event == "execution_error":
                return f"{data['exception_type']}: {data['exception_message']}"
            if event == "execution_interrupted":
                return "interrupted"
        return None

    def cached(self):
        return {
            node
            for event, data in self.executor.status_messages
            if event == "execution_cached"
            for node in data["nodes"]
        }


class Interrupter:
    """Cancels after some evaluations of the network, as a user does in the middle of a run."""

    def __init__(self, monkeypatch, model_class, evaluations):
        self.left = evaluations
        original = model_class.apply_model

        def apply_model(model, *args, **kwargs):
            self.left -= 1
            if self.left == 0:
                comfy.model_management.interrupt_current_processing()
            comfy.model_management.throw_exception_if_processing_interrupted()
            return original(model, *args, **kwargs)

        monkeypatch.setattr(model_class, "apply_model", apply_model)
