# SPDX-License-Identifier: Apache-2.0
"""Many cameras, one model: a websocket service, its client and its page. Needs the extra `serve`.

    client -> app (one coroutine a client) -> worker (one thread: steps the newest frame of each) -> app -> client

`Service` is in `longtake.serve.service`, `Client` in `longtake.serve.client`; docs/serve.md has the messages.
"""
