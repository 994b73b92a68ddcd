package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Reasons of a refusal, and values of the label reason of
// devside_http_refused_total.
const (
	refusedHost   = "host"   // the Host is not one of ours: DNS rebinding
	refusedOrigin = "origin" // a page of another origin asks
	refusedToken  = "token"
	refusedMethod = "method"
)

var refusals = []string{refusedHost, refusedOrigin, refusedToken, refusedMethod}

// refusal says why a request is not served.
type refusal struct {
	reason string
	status int
	text   string
}

// hostsOf lists the values of the header Host that name a listener.
func hostsOf(host string, port int) map[string]bool {
	hosts := map[string]bool{}
	for _, h := range []string{"127.0.0.1", "localhost", "::1", strings.ToLower(host)} {
		hosts[net.JoinHostPort(h, strconv.Itoa(port))] = true
		if port == 80 { // which nobody writes
			hosts[strings.TrimSuffix(net.JoinHostPort(h, ""), ":")] = true
		}
	}
	return hosts
}

// guard decides which requests are served.
type guard struct {
	hosts map[string]bool
	token [sha256.Size]byte // its hash: comparing takes as long whatever is sent
}

// look returns why a request is refused; nil: it is served. The first checks are
// of who asks, on every path, so that a page of another origin learns nothing.
func (g *guard) look(r *http.Request) *refusal {
	switch {
	case !g.hosts[strings.ToLower(r.Host)]:
		// A page whose name was made to resolve to 127.0.0.1 says its own name here.
		return &refusal{refusedHost, http.StatusMisdirectedRequest, "this is devside, and it does not answer to that Host"}
	case !g.sameOrigin(r):
		return &refusal{refusedOrigin, http.StatusForbidden, "pages of other origins are not answered"}
	case public[r.URL.Path] == nil && !g.hasToken(r):
		return &refusal{refusedToken, http.StatusUnauthorized, "the hub's token is needed: Authorization: Bearer TOKEN"}
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return &refusal{refusedMethod, http.StatusMethodNotAllowed, "only GET and HEAD are answered"}
	}
	return nil
}

// sameOrigin refuses what a browser says of another origin: in Origin, with
// every request that can change something or whose answer a page could read, and
// in Sec-Fetch-Site, with every request at all. Another port of localhost is
// another origin. Programs send neither.
func (g *guard) sameOrigin(r *http.Request) bool {
	for _, origin := range r.Header.Values("Origin") {
		host, ok := strings.CutPrefix(strings.ToLower(origin), "http://")
		if !ok || !g.hosts[host] {
			return false
		}
	}
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		if site != "same-origin" && site != "none" { // none: a person typed the address
			return false
		}
	}
	return true
}

func (g *guard) hasToken(r *http.Request) bool {
	said, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	hash := sha256.Sum256([]byte(said))
	return subtle.ConstantTimeCompare(hash[:], g.token[:]) == 1 && ok
}

// secure are the headers of every answer. There is no CORS header among them.
var secure = map[string]string{
	"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Referrer-Policy":              "no-referrer",
	"Cache-Control":                "no-store",
}
