package main

// channel sends a number to and fro over two channels with room for one.
func channel(n numbers) (sample, error) {
	warm, counted := n("warm"), n("counted")
	there, back := make(chan int, 1), make(chan int, 1)
	go func() {
		for number := range there {
			back <- number + 1
		}
	}()
	number, sum := 0, 0
	var m meter
	for _, count := range []int{warm, counted} {
		m = start()
		for i := 0; i < count; i++ {
			number++
			there <- number
			sum += <-back
		}
	}
	spent := m.stop()
	close(there)
	if err := checkRoundTrips(sum, warm+counted); err != nil {
		return sample{}, err
	}
	return spent.perOp(counted), nil
}
