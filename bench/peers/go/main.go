// Go's contestants: the first argument names the scenario, flags carry its numbers.
//
// The answer is one line of JSON, the same that the Rust contestants print.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
)

// sample is what a contestant that passed its own check has measured.
type sample struct {
	Values      []float64 `json:"values"`
	CpuUsPerOp  float64   `json:"cpu_us_per_op"`
	UserUsPerOp float64   `json:"user_us_per_op"`
	Waited      float64   `json:"waited"`
	Note        string    `json:"note,omitempty"`
}

// numbers gives the value of each flag; one that was not given is an error of the caller.
type numbers func(name string) int

var scenarios = map[string]struct {
	procs int
	flags []string
	run   func(numbers) (sample, error)
}{
	"yield":       {1, []string{"fibers", "warm", "counted"}, yield},
	"spawn-join":  {1, []string{"batch", "warm", "counted"}, spawnJoin},
	"ping-pong":   {1, []string{"warm", "counted"}, pingPong},
	"channel":     {1, []string{"warm", "counted"}, channel},
	"mutex":       {1, []string{"contenders", "warm", "counted"}, mutex},
	"serve":       {1, []string{"fd", "once"}, serve},
	"http-hello":  {1, []string{"port"}, httpHello},
	"http-json":   {1, []string{"port"}, httpJSON},
	"http-tail":   {2, []string{"port"}, httpTail},
	"million":     {1, []string{"fibers"}, million},
	"timers":      {1, timerFlags, timers},
	"dump":        {1, []string{"fibers", "dumps", "warm", "profile"}, dump},
	"slides":      {1, slidesFlags, slides},
	"wake-across": {2, []string{"busy", "locked", "warm", "counted"}, wakeAcross},
}

func main() {
	result, err := contest(os.Args[1:])
	var skipped skip
	switch {
	case errors.As(err, &skipped):
		answer("skipped", skipped.why)
	case err != nil:
		answer("failed", err.Error())
	default:
		answer("sample", result)
	}
}

// skip is the error of a contestant that cannot do what the scenario asks.
type skip struct{ why string }

func (s skip) Error() string { return s.why }

func contest(args []string) (sample, error) {
	if len(args) == 0 {
		return sample{}, fmt.Errorf("no scenario named")
	}
	scenario, known := scenarios[args[0]]
	if !known {
		return sample{}, fmt.Errorf("the Go peers have no scenario %q", args[0])
	}
	set := flag.NewFlagSet(args[0], flag.ContinueOnError)
	set.SetOutput(os.Stderr)
	values := map[string]*int{}
	for _, name := range scenario.flags {
		values[name] = set.Int(name, -1, "a number of the scenario's plan")
	}
	if err := set.Parse(args[1:]); err != nil {
		return sample{}, err
	}
	for name, value := range values {
		if *value < 0 {
			return sample{}, fmt.Errorf("the flag -%s is missing", name)
		}
	}
	runtime.GOMAXPROCS(scenario.procs)
	return scenario.run(func(name string) int { return *values[name] })
}

func answer(kind string, what any) {
	line, err := json.Marshal(map[string]any{kind: what})
	if err != nil {
		line = []byte(`{"failed":"the answer cannot be written as JSON"}`)
	}
	fmt.Println(string(line))
}

// check is an error unless the contestant's own result is what it must be.
func check(what string, got, want int) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("check failed: %s is %d, must be %d", what, got, want)
}
