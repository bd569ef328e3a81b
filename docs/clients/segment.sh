#!/bin/sh
# Segment a case with curl: sh segment.sh CASE.zip RESULT.zip [URL]
# The Idempotency-Key lets curl repeat the request without the case being computed twice.
case=$1 result=$2 url=${3:-http://127.0.0.1:8000}
if ! curl -sS --fail-with-body --retry 10 --retry-connrefused -F "file=@$case" -o "$result" \
    -H "Idempotency-Key: $(sha256sum < "$case" | cut -c 1-64)" "$url/segment"; then
    cat "$result" >&2  # the problem, in JSON
    exit 1
fi
