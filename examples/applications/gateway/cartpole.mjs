// A program in JavaScript that a job learns from. Node 18 or newer:
//   rljob run examples/applications/gateway/job.yaml
//   rljob gateway runs/cartpole-1
//   node examples/applications/gateway/cartpole.mjs http://127.0.0.1:8080

const [gateway, token = ""] = process.argv.slice(2);

async function ask(path, content = {}) {
  const answer = await fetch(gateway + path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
    body: JSON.stringify(content),
  });
  const found = await answer.json();
  if (!answer.ok) throw new Error(`${path}: ${found.error}`);
  return found;
}

// Barto, Sutton and Anderson 1983: a pole on a cart, which is pushed to the left or to the right.
class CartPole {
  state = [0, 0, 0, 0].map(() => 0.1 * Math.random() - 0.05);
  steps = 0;

  step(action) {
    const [position, velocity, angle, turning] = this.state;
    const force = action === 1 ? 10 : -10;
    const push = (force + 0.05 * turning ** 2 * Math.sin(angle)) / 1.1;
    const turn =
      (9.8 * Math.sin(angle) - Math.cos(angle) * push) /
      (0.5 * (4 / 3 - (0.1 * Math.cos(angle) ** 2) / 1.1));
    const speed = push - (0.05 * turn * Math.cos(angle)) / 1.1;
    this.state = [
      position + 0.02 * velocity,
      velocity + 0.02 * speed,
      angle + 0.02 * turning,
      turning + 0.02 * turn,
    ];
    this.steps += 1;
    const terminated = Math.abs(this.state[0]) > 2.4 || Math.abs(this.state[2]) > Math.PI / 15;
    return { terminated, truncated: this.steps >= 500 };
  }
}

for (;;) {
  const { episode } = await ask("/episodes");
  const cart = new CartPole();
  let end = {};
  while (!end.terminated && !end.truncated) {
    const { action } = await ask(`/episodes/${episode}/act`, { observation: cart.state });
    end = cart.step(action);
    await ask(`/episodes/${episode}/reward`, { reward: 1 });
  }
  await ask(`/episodes/${episode}/end`, { ...end, observation: cart.state });
  console.log(`return ${cart.steps}`);
}
