package spec

import (
	"net/netip"
	"strconv"
	"strings"
)

// splitHostPort reads "host:port" and "[::1]:port". The host must be written.
func splitHostPort(s string, leastPort int) (host string, port int, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 || !validPort(s[i+1:], leastPort) {
		return "", 0, false
	}
	host = s[:i]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return "", 0, false
		}
	} else if !validHost(host) {
		return "", 0, false
	}
	port, _ = strconv.Atoi(s[i+1:])
	return host, port, true
}

// validHost allows what a host name or an IPv4 address is made of.
func validHost(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '.' && c != '-' && !isName("_"+s[i:i+1]) {
			return false
		}
	}
	return s != "" && len(s) <= 253 && s[0] != '-'
}

func validPort(s string, least int) bool {
	n, err := strconv.Atoi(s)
	return err == nil && strconv.Itoa(n) == s && n >= least && n <= 65535
}

func joinHostPort(host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// loopback reports whether the host is this machine for certain: by its
// address, or by the one name that resolvers must keep for it (RFC 6761).
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback() && a.Zone() == ""
}
