package sidecar

import (
	"context"
	"sync"
)

// tasks is work that ends together. Once cancelled it takes nothing new: what
// is run then is not run, what is tied then has ended already.
type tasks struct {
	// The functions close over the context, so that no struct holds one.

	// run starts a goroutine whose context ends with the tasks. It reports
	// whether it did.
	run func(f func(ctx context.Context)) bool
	// tie makes the caller part of the tasks until it calls end: its context
	// ends with them, and wait waits for it.
	tie    func(ctx context.Context) (tied context.Context, end func())
	cancel func()
	wait   func()
}

func newTasks(parent context.Context) *tasks {
	life, cancel := context.WithCancel(parent)
	var (
		mu      sync.Mutex // guards over, so that no goroutine is added to a group being waited for
		over    bool
		running sync.WaitGroup
	)
	return &tasks{
		run: func(f func(ctx context.Context)) bool {
			mu.Lock()
			defer mu.Unlock()
			if !over {
				running.Go(func() { f(life) })
			}
			return !over
		},
		tie: func(ctx context.Context) (context.Context, func()) {
			tied, end := context.WithCancel(ctx)
			mu.Lock()
			defer mu.Unlock()
			if over {
				end()
				return tied, func() {}
			}
			running.Add(1)
			unhook := context.AfterFunc(life, end)
			return tied, func() {
				unhook()
				end()
				running.Done()
			}
		},
		cancel: func() {
			mu.Lock()
			over = true
			mu.Unlock()
			cancel()
		},
		wait: running.Wait,
	}
}

// stop ends the context and waits.
func (t *tasks) stop() {
	t.cancel()
	t.wait()
}
