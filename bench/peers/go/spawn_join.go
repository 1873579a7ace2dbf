package main

import "sync"

// spawnJoin starts goroutines that give a number back each, batch by batch, and waits for them.
func spawnJoin(n numbers) (sample, error) {
	batch, warm, counted := n("batch"), n("warm"), n("counted")
	// The fastest way differs: a channel for one, a group for many.
	oneBatch := byGroup(batch)
	if batch == 1 {
		oneBatch = byChannel()
	}
	for i := 0; i < warm; i++ {
		oneBatch()
	}
	m := start()
	sum := 0
	for i := 0; i < counted; i++ {
		sum += oneBatch()
	}
	spent := m.stop()
	if err := check("the sum of the joined values", sum, counted*batch*(batch+1)/2); err != nil {
		return sample{}, err
	}
	return spent.perOp(counted * batch), nil
}

func byChannel() func() int {
	result := make(chan int)
	return func() int {
		go func() { result <- 1 }()
		return <-result
	}
}

func byGroup(batch int) func() int {
	var group sync.WaitGroup
	results := make([]int, batch)
	return func() (sum int) {
		group.Add(batch)
		for i := range results {
			i := i
			go func() {
				results[i] = i + 1
				group.Done()
			}()
		}
		group.Wait()
		for i, result := range results {
			sum += result
			results[i] = 0
		}
		return sum
	}
}
