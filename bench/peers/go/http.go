package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
)

const hello = "Hello, World!"

// httpHello answers every request with the same text; it returns only with an error.
func httpHello(n numbers) (sample, error) {
	handler := func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = text
		w.Header()["Content-Length"] = helloLength
		io.WriteString(w, hello)
	}
	return serveHTTP(n, http.HandlerFunc(handler))
}

// What is the same in every answer is made once.
var (
	text        = []string{"text/plain; charset=utf-8"}
	helloLength = []string{strconv.Itoa(len(hello))}
)

func serveHTTP(n numbers, handler http.Handler) (sample, error) {
	address := fmt.Sprintf("127.0.0.1:%d", n("port"))
	return sample{}, http.ListenAndServe(address, handler)
}
