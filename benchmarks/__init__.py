"""CPU per request beside the proxies that people would use instead: `python -m benchmarks`, or `make bench`.

All contenders run in turn on one core, behind the same upstream and under the same load from the other core, in rounds that
alternate; machines are noisy, so what counts is the ratio within a round. CPU time is what the kernel accounts to the
contender's processes (`/proc/PID/stat`), not what a clock shows.

- `machine`     processes on a core, ended with the harness        - `place`       where a contender works
- `contenders`, `envoy`, `tokens`  who takes part, and how          - `load`        wrk, and single requests
- `rounds`      checks each contender, then goes round             - `report`, `versions`  what is printed
"""
