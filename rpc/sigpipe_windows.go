package rpc

// IgnoreSIGPIPE does nothing: Windows has no such signal.
func IgnoreSIGPIPE() (stop func()) { return func() {} }
