package main

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
)

// sampledRounds are round trips after the measured ones that also ask for the thread, which takes
// a system call.
const sampledRounds = 1000

// crossedPercentMin is the share of wakes that must cross threads for a figure to be one of wakes
// across threads.
const crossedPercentMin = 90

type message struct {
	number int
	// The sender's thread, or 0 in the measured rounds.
	thread int
}

// crossed is 1 if the receiver runs on another thread than the sender.
func (m message) crossed() int {
	if m.thread != 0 && m.thread != syscall.Gettid() {
		return 1
	}
	return 0
}

// wakeAcross sends a number to and fro between two goroutines on two processors, and samples how
// often the woken one runs on another thread than its waker.
func wakeAcross(n numbers) (sample, error) {
	busy, locked := n("busy") == 1, n("locked") == 1
	warm, counted := n("warm"), n("counted")
	total := warm + counted
	there, back := make(chan message), make(chan message)
	var stop int32
	if busy {
		for i := 0; i < 2; i++ {
			go keepBusy(&stop)
		}
	}
	crossed := make(chan int)
	go func() {
		if locked {
			runtime.LockOSThread()
		}
		crossed <- echo(there, back)
	}()
	if locked {
		runtime.LockOSThread()
	}
	sum := 0
	m := start()
	for i := 1; i <= total; i++ {
		there <- message{number: i}
		sum += (<-back).number
		if i == warm {
			m = start()
		}
	}
	spent := m.stop()
	crossings := 0
	for i := 0; i < sampledRounds; i++ {
		there <- message{i, syscall.Gettid()}
		crossings += (<-back).crossed()
	}
	close(there)
	crossings += <-crossed
	atomic.StoreInt32(&stop, 1)
	if err := checkRoundTrips(sum, total); err != nil {
		return sample{}, err
	}
	if percent := 100 * crossings / (2 * sampledRounds); percent < crossedPercentMin {
		return sample{}, skip{fmt.Sprintf(
			"%d%% of its wakes crossed: the woken goroutine runs on the waker's thread", percent)}
	}
	result := spent.perOp(2 * counted)
	result.Note = fmt.Sprintf("%.2f sleeps per wake", float64(spent.sleeps)/float64(2*counted))
	return result, nil
}

// echo answers each message with a number one greater, and counts those that crossed threads.
func echo(there <-chan message, back chan<- message) (crossings int) {
	for m := range there {
		thread := 0
		if m.thread != 0 {
			crossings += m.crossed()
			thread = syscall.Gettid()
		}
		back <- message{m.number + 1, thread}
	}
	return crossings
}

func keepBusy(stop *int32) {
	for atomic.LoadInt32(stop) == 0 {
		runtime.Gosched()
	}
}
