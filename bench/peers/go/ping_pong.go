package main

// pingPong sends a number to and fro over two unbuffered channels.
func pingPong(n numbers) (sample, error) {
	warm, counted := n("warm"), n("counted")
	total := warm + counted
	there, back := make(chan int), make(chan int)
	go func() {
		for i := 0; i < total; i++ {
			back <- <-there + 1
		}
	}()
	sum := 0
	m := start()
	for i := 1; i <= total; i++ {
		there <- i
		sum += <-back
		if i == warm {
			m = start()
		}
	}
	spent := m.stop()
	if err := checkRoundTrips(sum, total); err != nil {
		return sample{}, err
	}
	return spent.perOp(counted), nil
}

// checkRoundTrips holds for numbers from 1 to total that each came back one greater.
func checkRoundTrips(sum, total int) error {
	return check("the sum of the numbers that came back", sum, total*(total+1)/2+total)
}
