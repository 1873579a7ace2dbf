package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// yield is one turn of the scheduler among many goroutines that do nothing else.
func yield(n numbers) (sample, error) {
	fibers, warm, counted := n("fibers"), n("warm"), n("counted")
	var (
		w        = newWindow(fibers)
		group    sync.WaitGroup
		last     int64 = -1
		switches int64
		done     int64
	)
	group.Add(fibers)
	for i := 0; i < fibers; i++ {
		me := int64(i)
		go func() {
			defer group.Done()
			for i := 0; i < warm; i++ {
				if atomic.LoadInt64(&last) != me {
					atomic.StoreInt64(&last, me)
					atomic.AddInt64(&switches, 1)
				}
				runtime.Gosched()
			}
			w.open()
			mine := 0
			for i := 0; i < counted; i++ {
				runtime.Gosched()
				mine++
			}
			w.close()
			atomic.AddInt64(&done, int64(mine))
		}()
	}
	group.Wait()
	if err := check("the number of yields", int(done), fibers*counted); err != nil {
		return sample{}, err
	}
	if int(switches)*100 < fibers*warm*95 {
		return sample{}, fmt.Errorf("check failed: %d yields made %d switches", fibers*warm, switches)
	}
	return w.spent.perOp(fibers * counted), nil
}
