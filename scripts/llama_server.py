#!/usr/bin/env python3
"""Runs a llama.cpp server with a GGUF file, for tests: python3 scripts/llama_server.py MODEL.gguf

When the server is ready, the script prints its base URL as a line. It logs to standard error, and exits when its
standard input closes, so that it does not outlive the program that started it. Needs the package xllamacpp
(version 2026.10.11549 was used), which contains llama.cpp's server.
"""

import argparse
import os
import sys

import xllamacpp


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the GGUF file")
    parser.add_argument("--port", type=int, default=0, help="port (default: a free one)")
    parser.add_argument("--slots", type=int, default=4, help="concurrent sequences")
    parser.add_argument("--context", type=int, default=256, help="tokens per slot")
    args = parser.parse_args()
    if not os.path.isfile(args.model):
        parser.error(f"no file {args.model}")

    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.model_alias = ["tiny"]
    params.hostnames = ["127.0.0.1"]
    params.port = args.port
    params.n_parallel = args.slots
    params.n_ctx = args.slots * args.context
    # A second thread does not speed up a tiny model, and several servers share the processors.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics = True
    server = xllamacpp.Server(params)
    print(server.listening_address + "/v1", flush=True)
    sys.stdin.buffer.read()
    # The server's own shutdown would wait for open connections.
    os._exit(0)


if __name__ == "__main__":
    main()
