"""The yard command line.

`app` has the table of commands, `commands` each of them; `options`, `inputs` and `output` are how they read and write,
`following` what they wait for, `supervisor` is `yard up`, `archives` a backup, `demo` the story of `yard demo`.
"""
