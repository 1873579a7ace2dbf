package main

import (
	"runtime"
	"sync"
)

// mutex locks, adds one and unlocks; among many, the owner yields while it holds the lock.
func mutex(n numbers) (sample, error) {
	contenders, warm, counted := n("contenders"), n("warm"), n("counted")
	var (
		lock    sync.Mutex
		counter int
		spent   spent
	)
	if contenders == 1 {
		var m meter
		for _, count := range []int{warm, counted} {
			m = start()
			for i := 0; i < count; i++ {
				lock.Lock()
				counter++
				lock.Unlock()
			}
		}
		spent = m.stop()
	} else {
		w := newWindow(contenders)
		var group sync.WaitGroup
		group.Add(contenders)
		locks := func(count int) {
			for i := 0; i < count; i++ {
				lock.Lock()
				counter++
				runtime.Gosched()
				lock.Unlock()
			}
		}
		for i := 0; i < contenders; i++ {
			go func() {
				defer group.Done()
				locks(warm)
				w.open()
				locks(counted)
				w.close()
			}()
		}
		group.Wait()
		spent = w.spent
	}
	if err := check("the counter", counter, contenders*(warm+counted)); err != nil {
		return sample{}, err
	}
	return spent.perOp(contenders * counted), nil
}
