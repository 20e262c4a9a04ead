"""The small package that the course's notebooks import. Importing it runs nothing.

| to … | use | lesson |
|---|---|---|
| choose a network; load one with its preprocessing and labels | `zoo` | 02, 03 |
| use a network that Keras lacks, as one of `keras.applications` | `applications` | 03, 12 |
| find, fetch and verify weight files | `weights` | 08 |
| read picture files of any kind | `images` | 03 |
| list class folders; get the course's drawings and photographs | `datasets` | 04 |
| tap inner layers; compute receptive fields | `layers` | 05 |
| extract features of class folders, here or on a cluster | `bottlenecks` | 10, 13 |
| start workers on this machine; reach a scheduler | `cluster` | 13 |
| read, describe and stream a features file | `features` | 11 |
| run a frozen network fast | `engine` | 10 |
| train a linear head on features | `heads` | 10 |
| freeze by block; split a network where freezing ends | `finetune` | 06 |
| see what is inside a weight file; load all of it or a part | `h5files` | 08 |
| draw figures; touch sliders and buttons | `plots`, `widgets` | 03, 05, 06 |
| check exercises; check this machine | `checks`, `doctor` | 00 |

Errors are in `errors`. `python -m helpers` is the command line.
"""
