package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

var slidesFlags = []string{
	"concurrency", "warm-ms", "window-ms", "rate-max",
	"receive", "parse", "query", "storage", "render", "send",
}

// slides goes round a cycle of waits and work on many goroutines and counts the cycles.
func slides(n numbers) (sample, error) {
	micros := func(name string) time.Duration { return time.Duration(n(name)) * time.Microsecond }
	receive, storage, send := micros("receive"), micros("storage"), micros("send")
	perMicro := fitWork()
	work := func(name string) int { return int(float64(n(name)) * perMicro) }
	parse, query, render := work("parse"), work("query"), work("render")
	var (
		group        sync.WaitGroup
		count, ended int64
	)
	group.Add(n("concurrency"))
	for i := 0; i < n("concurrency"); i++ {
		go func() {
			defer group.Done()
			for atomic.LoadInt64(&ended) == 0 {
				time.Sleep(receive)
				workOn(parse)
				workOn(query)
				time.Sleep(storage)
				workOn(render)
				time.Sleep(send)
				atomic.AddInt64(&count, 1)
			}
		}()
	}
	time.Sleep(millis(n("warm-ms")))
	m, first := start(), atomic.LoadInt64(&count)
	time.Sleep(millis(n("window-ms")))
	cycles, spent := int(atomic.LoadInt64(&count)-first), m.stop()
	atomic.StoreInt64(&ended, 1)
	group.Wait()
	rate := float64(cycles) / spent.wall.Seconds()
	if most := n("rate-max"); cycles == 0 || rate > float64(most)*1.03 {
		return sample{}, fmt.Errorf("check failed: %.0f cycles per second, %d are possible", rate, most)
	}
	return spent.withValues(cycles, rate), nil
}

// fitWork fits workOn to the clock: iterations per microsecond, by the fastest of many trials.
func fitWork() float64 {
	const trial, trials = 100_000, 200
	fastest := time.Hour
	for i := 0; i < trials; i++ {
		begin := time.Now()
		workOn(trial)
		if took := time.Since(begin); took < fastest {
			fastest = took
		}
	}
	return trial / (fastest.Seconds() * 1e6)
}

var worked uint64

// workOn is the loop of the Rust contestants: each iteration needs the one before it.
func workOn(iterations int) {
	x := uint64(1)
	for i := 0; i < iterations; i++ {
		x = (x ^ (x >> 7)) * 0x9E3779B97F4A7C15
	}
	worked += x
}
