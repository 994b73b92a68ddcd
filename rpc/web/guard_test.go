package web

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSECLISTWhichRequestsAreRefused(t *testing.T) {
	const token = "0123456789abcdef"
	g := &guard{hostsOf("127.0.0.1", 9000), sha256.Sum256([]byte(token))}
	type headers = map[string]string
	for _, c := range []struct {
		name, method, url, host string
		headers                 headers
		want                    int // 0: served
	}{
		{name: "a scraper", url: "/metrics", host: "127.0.0.1:9000"},
		{name: "by name", url: "/dev-metrics", host: "localhost:9000"},
		{name: "by name, as a person may write it", url: "/health/liveness", host: "LocalHost:9000"},
		{name: "IPv6", url: "/health/readiness?server=api", host: "[::1]:9000"},
		{name: "HEAD", method: "HEAD", url: "/health/startup", host: "127.0.0.1:9000"},
		{name: "a page of ours", url: "/metrics", host: "127.0.0.1:9000", headers: headers{"Origin": "http://127.0.0.1:9000", "Sec-Fetch-Site": "same-origin"}},
		{name: "typed by a person", url: "/metrics", host: "localhost:9000", headers: headers{"Sec-Fetch-Site": "none"}},

		{name: "a rebound name", url: "/metrics", host: "evil.example:9000", want: 421},
		{name: "a rebound name with our token", url: "/x", host: "evil.example:9000", headers: headers{"Authorization": "Bearer " + token}, want: 421},
		{name: "localhost in a name", url: "/metrics", host: "localhost.evil.example:9000", want: 421},
		{name: "ours with a dot", url: "/metrics", host: "localhost.:9000", want: 421},
		{name: "another port", url: "/metrics", host: "127.0.0.1:9001", want: 421},
		{name: "no port", url: "/metrics", host: "127.0.0.1", want: 421},
		{name: "another way to write it", url: "/metrics", host: "127.1:9000", want: 421},
		{name: "another loopback address", url: "/metrics", host: "127.0.0.2:9000", want: 421},
		{name: "no host", url: "/metrics", host: "", want: 421},
		{name: "a user before it", url: "/metrics", host: "127.0.0.1:9000@evil.example", want: 421},
		{name: "an absolute target", url: "http://evil.example/metrics", host: "evil.example", want: 421},

		{name: "another origin", url: "/metrics", host: "127.0.0.1:9000", headers: headers{"Origin": "https://evil.example"}, want: 403},
		{name: "another port of localhost", url: "/metrics", host: "localhost:9000", headers: headers{"Origin": "http://localhost:3000"}, want: 403},
		{name: "our name by https", url: "/metrics", host: "localhost:9000", headers: headers{"Origin": "https://localhost:9000"}, want: 403},
		{name: "no origin to tell", url: "/metrics", host: "localhost:9000", headers: headers{"Origin": "null"}, want: 403},
		{name: "an empty origin", url: "/metrics", host: "localhost:9000", headers: headers{"Origin": ""}, want: 403},
		{name: "an image of another site", url: "/metrics", host: "localhost:9000", headers: headers{"Sec-Fetch-Site": "cross-site"}, want: 403},
		{name: "an image of another port", url: "/metrics", host: "localhost:9000", headers: headers{"Sec-Fetch-Site": "same-site"}, want: 403},
		{name: "what no browser says", url: "/metrics", host: "localhost:9000", headers: headers{"Sec-Fetch-Site": "Same-Origin"}, want: 403},
		{name: "a form of another site", method: "POST", url: "/metrics", host: "localhost:9000", headers: headers{"Origin": "https://evil.example"}, want: 403},
		{name: "asked for leave by another site", method: "OPTIONS", url: "/x", host: "localhost:9000", headers: headers{"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}, want: 403},
		{name: "another site, for what needs the token", url: "/dev-dashboard", host: "localhost:9000", headers: headers{"Sec-Fetch-Site": "cross-site"}, want: 403},

		{name: "without the token", url: "/", host: "localhost:9000", want: 401},
		{name: "with another one", url: "/", host: "localhost:9000", headers: headers{"Authorization": "Bearer 0123456789abcdee"}, want: 401},
		{name: "with a part of it", url: "/", host: "localhost:9000", headers: headers{"Authorization": "Bearer 0123"}, want: 401},
		{name: "with an empty one", url: "/", host: "localhost:9000", headers: headers{"Authorization": "Bearer "}, want: 401},
		{name: "with it as a password", url: "/", host: "localhost:9000", headers: headers{"Authorization": "Basic " + token}, want: 401},
		{name: "with it in the query", url: "/?token=" + token, host: "localhost:9000", want: 401},
		{name: "with it", url: "/", host: "localhost:9000", headers: headers{"Authorization": "Bearer " + token}},
		{name: "nearly a public path", url: "//metrics", host: "localhost:9000", want: 401},
		{name: "below a public path", url: "/metrics/x", host: "localhost:9000", want: 401},
		{name: "a public path in capitals", url: "/Metrics", host: "localhost:9000", want: 401},
		{name: "changing something", method: "POST", url: "/metrics", host: "localhost:9000", want: 405},
		{name: "changing something with the token", method: "DELETE", url: "/x", host: "localhost:9000", headers: headers{"Authorization": "Bearer " + token}, want: 405},
		{name: "a method of one's own", method: "SCRAPE", url: "/metrics", host: "localhost:9000", want: 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.method == "" {
				c.method = http.MethodGet
			}
			r := httptest.NewRequest(c.method, c.url, nil)
			r.Host = c.host
			for k, v := range c.headers {
				r.Header.Set(k, v)
			}
			got := 0
			if refused := g.look(r); refused != nil {
				got = refused.status
			}
			if got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

func TestTwoOriginsAreNotOneThatIsOurs(t *testing.T) {
	g := &guard{hosts: hostsOf("127.0.0.1", 9000)}
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Host = "127.0.0.1:9000"
	r.Header["Origin"] = []string{"http://127.0.0.1:9000", "https://evil.example"}
	if refused := g.look(r); refused == nil || refused.reason != refusedOrigin {
		t.Errorf("%+v", refused)
	}
}

func TestTheHostsOfAListener(t *testing.T) {
	for _, c := range []struct {
		host string
		port int
		has  string
		not  string
	}{
		{"127.0.0.1", 80, "localhost localhost:80 127.0.0.1 [::1] [::1]:80", "localhost:"},
		{"127.0.0.1", 9000, "localhost:9000 [::1]:9000", "localhost 127.0.0.1 :9000"},
		{"127.0.0.2", 9000, "127.0.0.2:9000 localhost:9000", "127.0.0.3:9000"},
		{"::1", 9000, "[::1]:9000", "::1:9000"},
	} {
		hosts := hostsOf(c.host, c.port)
		for _, h := range strings.Fields(c.has) {
			if !hosts[h] {
				t.Errorf("%s %d: %q is not one of %v", c.host, c.port, h, hosts)
			}
		}
		for _, h := range strings.Fields(c.not) {
			if hosts[h] {
				t.Errorf("%s %d: %q is one of %v", c.host, c.port, h, hosts)
			}
		}
	}
}
