package main

import (
	"fmt"
	"net"
	"os"
)

// serve echoes on the connections of a listener that it inherits; it returns only with an error.
func serve(n numbers) (sample, error) {
	file := os.NewFile(uintptr(n("fd")), "listener")
	once := n("once") != 0
	listener, err := net.FileListener(file)
	if err != nil {
		return sample{}, fmt.Errorf("the listener cannot be used: %w", err)
	}
	for {
		stream, err := listener.Accept()
		if err != nil {
			return sample{}, err
		}
		go answerAll(stream, once)
	}
}

func answerAll(stream net.Conn, once bool) {
	defer stream.Close()
	buffer := make([]byte, 1024)
	for {
		got, err := stream.Read(buffer)
		if err != nil {
			return
		}
		if _, err := stream.Write(buffer[:got]); err != nil || once {
			return
		}
	}
}
