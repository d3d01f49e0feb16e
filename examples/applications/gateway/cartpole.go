// A program in Go that a job learns from:
//
//	rljob run examples/applications/gateway/job.yaml
//	rljob gateway runs/cartpole-1
//	go run examples/applications/gateway/cartpole.go http://127.0.0.1:8080
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"math/rand"
	"net/http"
	"os"
)

type content map[string]any

type answer struct {
	Episode string
	Action  int
	Error   string
}

type client struct{ gateway, token string }

func (c client) ask(path string, sent content) answer {
	body, err := json.Marshal(sent)
	if err != nil {
		log.Fatal(err)
	}
	request, err := http.NewRequest("POST", c.gateway+path, bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+c.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	var found answer
	if err := json.NewDecoder(response.Body).Decode(&found); err != nil {
		log.Fatal(err)
	}
	if response.StatusCode >= 300 {
		log.Fatalf("%s: %s", path, found.Error)
	}
	return found
}

// cart is a pole on a cart, which is pushed to the left or to the right (Barto, Sutton and Anderson 1983).
type cart struct {
	state [4]float64
	steps int
}

func (c *cart) step(action int) (terminated, truncated bool) {
	velocity, angle, turning := c.state[1], c.state[2], c.state[3]
	force := 10.0
	if action == 0 {
		force = -10
	}
	push := (force + 0.05*turning*turning*math.Sin(angle)) / 1.1
	turn := (9.8*math.Sin(angle) - math.Cos(angle)*push) /
		(0.5 * (4.0/3 - 0.1*math.Pow(math.Cos(angle), 2)/1.1))
	speed := push - 0.05*turn*math.Cos(angle)/1.1
	for place, change := range [4]float64{velocity, speed, turning, turn} {
		c.state[place] += 0.02 * change
	}
	c.steps++
	return math.Abs(c.state[0]) > 2.4 || math.Abs(c.state[2]) > math.Pi/15, c.steps >= 500
}

func main() {
	agent := client{gateway: os.Args[1]}
	if len(os.Args) > 2 {
		agent.token = os.Args[2]
	}
	for {
		path := "/episodes/" + agent.ask("/episodes", content{}).Episode
		var pole cart
		for place := range pole.state {
			pole.state[place] = 0.1*rand.Float64() - 0.05
		}
		terminated, truncated := false, false
		for !terminated && !truncated {
			terminated, truncated = pole.step(agent.ask(path+"/act", content{"observation": pole.state}).Action)
			agent.ask(path+"/reward", content{"reward": 1})
		}
		agent.ask(path+"/end", content{"terminated": terminated, "truncated": truncated, "observation": pole.state})
		fmt.Println("return", pole.steps)
	}
}
