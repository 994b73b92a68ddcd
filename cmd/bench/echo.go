package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
)

// runEcho is the bare baseline of requests: it answers each one that it reads
// with as many bytes as its argument says, and looks at nothing but the id.
func runEcho(args []string) int {
	size := 0
	if len(args) > 0 {
		size, _ = strconv.Atoi(args[0])
	}
	filler := make([]byte, size)
	for i := range filler {
		filler[i] = 'x'
	}
	in := bufio.NewReaderSize(os.Stdin, 64<<10)
	var out []byte
	for {
		body, err := readFrame(in)
		if err != nil {
			return exitDone
		}
		id, ok := requestID(body)
		if !ok {
			return exitFailed
		}
		answer := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"result":"%s"}`, id, filler)
		out = fmt.Appendf(out, "Content-Length: %d\r\n\r\n%s", len(answer), answer)
		if in.Buffered() > 0 && len(out) < 64<<10 {
			continue // what came together is answered together
		}
		if _, err := os.Stdout.Write(out); err != nil {
			return exitDone
		}
		out = out[:0]
	}
}

// requestID reads the id where this program's client writes it.
func requestID(body []byte) (int, bool) {
	if len(body) < len(answerPrefix) || string(body[:len(answerPrefix)]) != string(answerPrefix) {
		return 0, false
	}
	id, n := 0, len(answerPrefix)
	for ; n < len(body) && body[n] >= '0' && body[n] <= '9'; n++ {
		id = id*10 + int(body[n]-'0')
	}
	return id, n > len(answerPrefix)
}
