"""The console: one page on the admin listener that shows an operator what the sidecar does, and why requests fail.

- `facts` is what there is to show, and what a worker sends its parent of it.
- `recent` remembers the last refusals, in each worker. `history` has the counts of the last hour, in the process that owns the
  listener.
- `attention` says in words what is wrong. `charts` and `page` write the HTML.
- `access` decides who may see it. `watchers` sends changes to the browsers that look. `web` has the endpoints.

It is read-only. While nobody looks, only the history is kept.
"""
