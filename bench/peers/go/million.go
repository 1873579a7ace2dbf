package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
)

// million holds that many goroutines waiting, then wakes them all.
func million(n numbers) (sample, error) {
	fibers := n("fibers")
	var waiting, finished int64
	sum := int64(0)
	values := make(chan int)
	before, err := memoryNow()
	if err != nil {
		return sample{}, err
	}
	m := start()
	for i := 0; i < fibers; i++ {
		go func() {
			atomic.AddInt64(&waiting, 1)
			atomic.AddInt64(&sum, int64(<-values))
			atomic.AddInt64(&finished, 1)
		}()
	}
	for atomic.LoadInt64(&waiting) < int64(fibers) {
		runtime.Gosched()
	}
	spent := m.stop()
	after, err := memoryNow()
	if err != nil {
		return sample{}, err
	}
	for i := 0; i < fibers; i++ {
		values <- i
	}
	for atomic.LoadInt64(&finished) < int64(fibers) {
		runtime.Gosched()
	}
	if err := check("the sum of the values", int(sum), fibers*(fibers-1)/2); err != nil {
		return sample{}, err
	}
	each := func(after, before int) float64 { return float64(after-before) / float64(fibers) }
	return spent.withValues(fibers,
		each(after.resident, before.resident),
		each(after.tables, before.tables),
		float64(after.mappings),
		spent.nsPer(fibers)), nil
}

type memory struct{ resident, tables, mappings int }

func memoryNow() (memory, error) {
	resident, err := kilobytes("/proc/self/smaps_rollup", "Rss:")
	if err != nil {
		return memory{}, err
	}
	tables, err := kilobytes("/proc/self/status", "VmPTE:")
	if err != nil {
		return memory{}, err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return memory{}, err
	}
	return memory{resident, tables, bytes.Count(maps, []byte("\n"))}, nil
}

// kilobytes is the number, in bytes, of a line such as "Rss:  12 kB".
func kilobytes(file, name string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == name {
			kib, err := strconv.Atoi(fields[1])
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}
