#!/usr/bin/env python3
"""A llama.cpp server over a GGUF file, for tests: python3 scripts/llama_server.py MODEL.gguf

Prints its base URL as a line when it answers, logs to standard error, and ends when its standard input does, so
that it does not outlive the program that started it. Needs the package xllamacpp (made with 2026.10.11549), which
has llama.cpp's server in it.
"""

import argparse
import os
import sys

import xllamacpp


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the GGUF file")
    parser.add_argument("--port", type=int, default=0, help="default: one that is free")
    parser.add_argument("--slots", type=int, default=4, help="sequences at a time")
    parser.add_argument("--context", type=int, default=256, help="tokens of a slot")
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
    # A tiny model gains nothing by a second thread, and several servers share the processors.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics = True
    server = xllamacpp.Server(params)
    print(server.listening_address + "/v1", flush=True)
    sys.stdin.buffer.read()
    # (The server's own end waits for connections that are still open.)
    os._exit(0)


if __name__ == "__main__":
    main()
