//go:build !linux

package probe

import (
	"context"
	"fmt"
)

// Notify is the socket on which one run of a server says how it is.
type Notify struct {
	*Notices
	Address string
}

// ListenNotify fails: only Linux says who has sent a datagram.
func ListenNotify(string, string) (*Notify, error) {
	return nil, fmt.Errorf("listen for sd_notify: %w", ErrUnsupported)
}

// Close does nothing.
func (n *Notify) Close() error { return nil }

// Serve does nothing.
func (n *Notify) Serve(context.Context, func(int) error, func(string)) {}
