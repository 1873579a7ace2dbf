package main

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"
)

// dump writes down what all goroutines do, many of them waiting.
func dump(n numbers) (sample, error) {
	fibers, dumps := n("fibers"), n("dumps")
	var waiting int64
	values := make(chan int)
	for i := 0; i < fibers; i++ {
		go func() {
			atomic.AddInt64(&waiting, 1)
			<-values
		}()
	}
	for atomic.LoadInt64(&waiting) < int64(fibers) {
		runtime.Gosched()
	}
	// Those that counted themselves may not have come to their wait yet.
	time.Sleep(20 * time.Millisecond)
	take := stacks(fibers)
	if n("profile") == 1 {
		take = profile
	}
	for i := 0; i < n("warm"); i++ {
		if err := check("the number of goroutines in a dump", take(), fibers+1); err != nil {
			return sample{}, err
		}
	}
	m := start()
	counted := 0
	for i := 0; i < dumps; i++ {
		counted += take()
	}
	spent := m.stop()
	if err := check("the number of goroutines in the dumps", counted, dumps*(fibers+1)); err != nil {
		return sample{}, err
	}
	close(values)
	pause := spent.nsPer(dumps) / 1e3
	result := spent.withValues(dumps*fibers, spent.nsPer(dumps*fibers), pause)
	result.Note = fmt.Sprintf("a dump has %d bytes", dumped)
	return result, nil
}

// dumped is the size of the last dump.
var dumped int

// stacks writes the stack of every goroutine, and stops all of them for as long as it takes.
func stacks(fibers int) func() int {
	text := make([]byte, (fibers+1)*4096)
	return func() int {
		dumped = runtime.Stack(text, true)
		// Counted by their heads, in the text that was written.
		return bytes.Count(text[:dumped], []byte("goroutine ")) - bytes.Count(text[:dumped], []byte("in goroutine "))
	}
}

// profile writes equal stacks once, with their number.
func profile() int {
	var text strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
		return -1
	}
	dumped = text.Len()
	total := -1
	_, _ = fmt.Sscanf(text.String(), "goroutine profile: total %d", &total)
	return total
}
