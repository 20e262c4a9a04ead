"""Reusable code of the course on pretrained image networks; importing it runs nothing.

The rooms, from the ground up; a room imports only from lower floors:

1. `errors`, `console`, `backend`
2. `catalogue`, `images`, `archives`, `h5files`, `sources`
3. `architectures`, `downloads`
4. `weights`
5. `zoo`, `features`, `datasets`, `engine`, `partfile`
6. `bottlenecks`
7. `finetune`, `cluster`
8. `plots`, `checks`, `doctor`
9. `widgets`
10. `monitor`
11. `__main__`, the command line
"""
