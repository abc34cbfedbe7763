"""The command line, one module a family of commands.

console   what every command shares: logging, error messages, JSON or a table
serving   `serve`, `worker` and `up`: what runs for as long as people label
stack     `up`'s child processes: the embedded Valkey, two workers, the server
child     one of them: started, started again, and its reason where it cannot begin
project   `connect`: a Label Studio project and this backend know each other
learning  `train` and `evaluate`: with Label Studio and a queue, or offline on an export
predict   `predict`: pre-annotations of a folder of images, as a file to import
unfinished  what `predict` has predicted so far, which a kill leaves
registry  `versions`, `promote` and `rollback`
queue     `status` and `cancel`, and following a training to its end
refresh   `refresh`: fresh pre-annotations for untouched tasks
order     `order`: which tasks annotators label first
warm      `warm`: embeds a whole project before anybody opens it
export    `export`: a version as a folder that other programs load
machine   `weights`, `settings` and `doctor`
doctor    what `doctor` looks at beyond the settings: a project, the server, memory and disk
demo      a real Label Studio with a sample project, and the whole loop walked through it
"""
