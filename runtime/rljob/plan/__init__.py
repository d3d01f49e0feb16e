"""What a job costs: its parts are measured for a moment, the whole is simulated from them.

`calibrate` measures on this machine and gives `Costs`; `model.predict` plays a job of any size with
them, by the rules that buffer and rollouts go by, and tells its rates and what bounds them.
"""
