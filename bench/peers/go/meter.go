package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// meter is a running measurement of wall and CPU time.
type meter struct {
	wall   time.Time
	usage  syscall.Rusage
	waited time.Duration
}

type spent struct {
	wall, user, system time.Duration
	// Times that a thread gave up its core by itself.
	sleeps int64
	// Time that ready threads had to wait for a core.
	waited time.Duration
}

func start() meter {
	waited, usage := waitedNow(), usageNow()
	return meter{time.Now(), usage, waited}
}

func (m meter) stop() spent {
	wall := time.Since(m.wall)
	usage := usageNow()
	return spent{
		wall:   wall,
		user:   duration(usage.Utime) - duration(m.usage.Utime),
		system: duration(usage.Stime) - duration(m.usage.Stime),
		sleeps: usage.Nvcsw - m.usage.Nvcsw,
		waited: waitedNow() - m.waited,
	}
}

func usageNow() (usage syscall.Rusage) {
	// With these arguments it cannot fail.
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage
}

// waitedNow sums the second number of schedstat over all threads that live now.
func waitedNow() (sum time.Duration) {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			nanos, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += time.Duration(nanos)
		}
	}
	return sum
}

func duration(t syscall.Timeval) time.Duration {
	return time.Duration(t.Nano())
}

func (s spent) nsPer(ops int) float64 {
	return float64(s.wall.Nanoseconds()) / float64(ops)
}

// perOp is a sample whose one value is the wall time of an operation in nanoseconds.
func (s spent) perOp(ops int) sample {
	return s.withValues(ops, s.nsPer(ops))
}

func (s spent) withValues(ops int, values ...float64) sample {
	micros := func(d time.Duration) float64 { return d.Seconds() * 1e6 / float64(ops) }
	return sample{
		Values:      values,
		CpuUsPerOp:  micros(s.user + s.system),
		UserUsPerOp: micros(s.user),
		Waited:      s.waited.Seconds() / s.wall.Seconds(),
	}
}

// window is a measurement that many goroutines open and close together: it opens with the first
// that is warm and closes with the last that is through.
type window struct {
	opening sync.Once
	running meter
	left    int64
	spent   spent
}

func newWindow(tasks int) *window {
	return &window{left: int64(tasks)}
}

func (w *window) open() {
	w.opening.Do(func() { w.running = start() })
}

func (w *window) close() {
	if atomic.AddInt64(&w.left, -1) == 0 {
		w.spent = w.running.stop()
	}
}
