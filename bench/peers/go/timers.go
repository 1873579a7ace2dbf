package main

import (
	"fmt"
	"sync/atomic"
	"time"
)

var timerFlags = []string{
	"armed", "warm", "counted", "delay-min-ms", "delay-spread-ms", "short-ms", "late-max-ms",
}

// timers arms a timer and stops it, again and again, while many others are armed.
func timers(n numbers) (sample, error) {
	armed, warm, counted := n("armed"), n("warm"), n("counted")
	delays := delays{1, n("delay-min-ms"), n("delay-spread-ms")}
	var fired int64
	fire := func() { atomic.AddInt64(&fired, 1) }
	others := make([]*time.Timer, armed)
	for i := range others {
		others[i] = time.AfterFunc(delays.next(), fire)
	}
	armAndStop := func(times int) (stopped int) {
		for i := 0; i < times; i++ {
			if time.AfterFunc(delays.next(), fire).Stop() {
				stopped++
			}
		}
		return stopped
	}
	armAndStop(warm)
	m := start()
	stopped := armAndStop(counted)
	spent := m.stop()
	if err := check("the number of timers armed and stopped", stopped, counted); err != nil {
		return sample{}, err
	}
	if err := checkShort(n("short-ms"), n("late-max-ms")); err != nil {
		return sample{}, err
	}
	if err := check("the number of timers that fired", int(fired), 0); err != nil {
		return sample{}, err
	}
	stillArmed := 0
	for _, other := range others {
		if other.Stop() {
			stillArmed++
		}
	}
	if err := check("the number of timers still armed", stillArmed, armed); err != nil {
		return sample{}, err
	}
	return spent.perOp(counted), nil
}

// checkShort proves that timers work while so many are armed.
func checkShort(shortMs, lateMaxMs int) error {
	short, late := millis(shortMs), millis(lateMaxMs)
	begin := time.Now()
	<-time.NewTimer(short).C
	if waited := time.Since(begin); waited < short || waited >= short+late {
		return fmt.Errorf("check failed: a timer of %v fired after %v", short, waited)
	}
	return nil
}

// delays are the same numbers as those of the Rust contestants.
type delays struct {
	state           uint64
	minMs, spreadMs int
}

func (d *delays) next() time.Duration {
	d.state = d.state*6_364_136_223_846_793_005 + 1
	return millis(d.minMs + int((d.state>>33)%uint64(d.spreadMs)))
}

func millis(n int) time.Duration {
	return time.Duration(n) * time.Millisecond
}
