package project

import (
	"net"
	"testing"
	"time"
)

func TestTheTableOfListenersFollowsTheSystem(t *testing.T) {
	var l listening
	s, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	number := s.Addr().(*net.TCPAddr).Port
	if is, known := l.has(number); !is || !known {
		t.Fatalf("a port that is listened on: %v, known %v", is, known)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		is, known := l.has(number) // the table is at most some milliseconds old
		if known && !is {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("10 s after it was closed: %v, known %v", is, known)
		}
	}
}
