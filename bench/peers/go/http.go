package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	hello = "Hello, World!"
	burnt = "burnt"
	// The CPU time of a request that burns.
	burnTime = 10 * time.Millisecond
)

// kinds are the routes of the JSON service: POST /v1/KIND/{id}.
var kinds = []string{
	"users", "orders", "products", "carts", "invoices", "payments", "refunds", "shipments",
	"returns", "reviews", "ratings", "coupons", "stores", "suppliers", "warehouses", "addresses",
	"messages", "sessions", "reports", "exports",
}

// What is the same in every answer is made once.
var (
	textType    = []string{"text/plain; charset=utf-8"}
	jsonType    = []string{"application/json"}
	helloLength = []string{strconv.Itoa(len(hello))}
)

type order struct {
	Name       string   `json:"name"`
	Quantity   uint64   `json:"quantity"`
	PriceCents uint64   `json:"price_cents"`
	Tags       []string `json:"tags"`
}

type receipt struct {
	Kind       string   `json:"kind"`
	Id         uint64   `json:"id"`
	Name       string   `json:"name"`
	TotalCents uint64   `json:"total_cents"`
	Tags       []string `json:"tags"`
}

// httpHello answers every request with the same text; like the others here it returns only with an
// error.
func httpHello(n numbers) (sample, error) {
	return serveHTTP(n, http.HandlerFunc(sayHello))
}

func sayHello(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Content-Type"] = textType
	w.Header()["Content-Length"] = helloLength
	io.WriteString(w, hello)
}

// httpJSON reads an order and answers with a receipt, behind 20 routes.
func httpJSON(n numbers) (sample, error) {
	routes := http.NewServeMux()
	for _, kind := range kinds {
		kind, prefix := kind, "/v1/"+kind+"/"
		routes.HandleFunc(prefix, func(w http.ResponseWriter, r *http.Request) {
			id, err := strconv.ParseUint(strings.TrimPrefix(r.URL.Path, prefix), 10, 64)
			if err != nil || r.Method != http.MethodPost {
				http.NotFound(w, r)
				return
			}
			sell(w, r, kind, id)
		})
	}
	return serveHTTP(n, routes)
}

func sell(w http.ResponseWriter, r *http.Request, kind string, id uint64) {
	var o order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, err := json.Marshal(receipt{kind, id, o.Name, o.Quantity * o.PriceCents, o.Tags})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header()["Content-Type"] = jsonType
	w.Write(body)
}

// httpTail burns CPU for the requests that ask for it.
func httpTail(n numbers) (sample, error) {
	steps := calibrate()
	routes := http.NewServeMux()
	routes.HandleFunc("/", sayHello)
	routes.HandleFunc("/burn", func(w http.ResponseWriter, _ *http.Request) {
		work(steps)
		w.Header()["Content-Type"] = textType
		io.WriteString(w, burnt)
	})
	return serveHTTP(n, routes)
}

func serveHTTP(n numbers, handler http.Handler) (sample, error) {
	address := fmt.Sprintf("127.0.0.1:%d", n("port"))
	return sample{}, http.ListenAndServe(address, handler)
}

// calibrate finds the steps of one burn by the CPU clock: a few burns, so that a moment of a slow
// core is no measure.
func calibrate() int {
	const steps = 100_000
	before, total := usageNow(), 0
	for {
		work(steps)
		total += steps
		now := usageNow()
		spent := duration(now.Utime) - duration(before.Utime) +
			duration(now.Stime) - duration(before.Stime)
		if spent >= 6*burnTime {
			return int(float64(total) * float64(burnTime) / float64(spent))
		}
	}
}

// sink keeps the compiler from leaving out the work.
var sink uint64

// work makes steps that each need the one before.
func work(steps int) {
	x := uint64(0x9e3779b97f4a7c15)
	for i := 0; i < steps; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	atomic.StoreUint64(&sink, x)
}
