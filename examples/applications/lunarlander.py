"""A program with its own loop: lands a ship, and lets a job learn from it. Start any number of them:

rljob run examples/applications/lunarlander.yaml
python examples/applications/lunarlander.py runs/lunarlander-1
"""

from __future__ import annotations

import sys

import gymnasium

import rljob


def main(job: str) -> None:
    """Land until the job ends."""
    environment = gymnasium.make("LunarLander-v3")
    with rljob.Agent(job, name="lander") as agent:
        while True:
            observation, _ = environment.reset()
            with agent.episode() as episode:
                over, total = False, 0.0
                while not over:
                    step = environment.step(episode.act(observation))
                    observation, reward, terminated, truncated, _ = step
                    episode.reward(float(reward))
                    total += float(reward)
                    over = terminated or truncated
                episode.end(terminated, truncated, observation)
            print(f"version {agent.policy_version}: {total:.0f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
