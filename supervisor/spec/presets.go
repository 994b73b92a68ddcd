package spec

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Preset is what devside knows of a framework. All of it is data: recognise,
// guessPort and apply, in recognise.go, are the only readers of what is not
// exported.
type Preset struct {
	Name  string // the value of `preset:`, and Server.Preset
	Title string // as its makers write it
	// Tested: a test starts the real framework (cmd/devside, TestE2EPresets). The
	// others are recognised by what their documentation says.
	Tested bool

	Port     int // where it listens unless told otherwise; 0: nowhere in particular
	Within   time.Duration
	Compiles bool // on demand, so that an answer may take long
	Caches   []string
	Restart  []string // globs of files that it reads once, when it starts
	Reloads  []string // globs of files that it watches and acts upon itself
	// Lockfiles are those that its package managers may use, whichever there is.
	Lockfiles []string

	runs    []run    // the commands that serve with it
	depends []string // one of these must be a dependency in package.json, where there are any
	marks   []mark   // files that tell it where there is no script

	readsPORT bool     // it listens where PORT says
	portArgs  []string // what gives it a port on its command line
	dotenv    bool     // it takes PORT from .env, too
	// sources are files below dir that may say where it listens; with ownSource
	// also the file that the command runs. asks matches a text that reads PORT,
	// number one that holds the port, as its first group.
	sources      []string
	ownSource    bool
	asks, number *regexp.Regexp
	// sourceOnly: the port is known only where a source says it. It is the
	// program's own, and the framework has none.
	sourceOnly bool
}

// run is a command that serves: a program and the subcommand that it is given.
type run struct {
	program string // its name without folders
	serves  []string
	loose   bool // options and their values may stand before the subcommand
	built   bool // it serves what was built before, and watches nothing
}

// mark is a file that tells a framework, and the command that starts it.
type mark struct {
	file string         // below the folder; one * stands for a folder
	has  *regexp.Regexp // its text must match; nil: whatever it holds
	with string         // another file that must be there
	// command is its argv. {python} is the interpreter of the folder, {module}
	// the file as Python imports it, {folder} the one that * stood for, {1} the
	// first group of has.
	command []string
}

// Lockfiles by language, as watch/rule knows them.
var (
	nodeLocks   = []string{"package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb"}
	pythonLocks = []string{"uv.lock", "poetry.lock"}
)

// How programs ask for their port, and where it stands in a source. The first
// match counts, and a wrong one only means a start that waits at the wrong port:
// the person then writes a devside.yaml.
var (
	nodeAsks   = regexp.MustCompile(`process\.env(?:\.PORT\b|\[['"]PORT['"]\])|Bun\.env\.PORT\b`)
	nodeNumber = regexp.MustCompile(`(?:\bPORT['"]?\]?\s*(?:\|\||\?\?|,)\s*|\.listen\(\s*|\.listen\(\s*\{[^}]*?\bport\s*:\s*|\b[pP](?:ort|ORT)\s*=\s*)['"]?(\d{2,5})\b`)
	viteNumber = regexp.MustCompile(`\bserver\s*:\s*\{[^{}]*?\bport\s*:\s*(\d{2,5})\b`)
	goAsks     = regexp.MustCompile(`(?s)Getenv\("PORT"\)|LookupEnv\("PORT"\)|"github\.com/gin-gonic/gin".*\.Run\(\)`)
	goNumber   = regexp.MustCompile(`"(?:localhost|127\.0\.0\.1|0\.0\.0\.0)?:(\d{2,5})"|\bport\s*:?=\s*"(\d{2,5})"`)
	goListens  = regexp.MustCompile(`\bListenAndServe(?:TLS)?\(|\bhttp\.Serve\(|\.Listen\(|"github\.com/gin-gonic/gin"|"github\.com/labstack/echo/v\d+"`)
	rustAsks   = regexp.MustCompile(`var\("PORT"\)`)
	rustNumber = regexp.MustCompile(`"(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])(?:", |:)(\d{2,5})\b|\bunwrap_or_else\(\|_\|\s*"(\d{2,5})"`)
)

// Files that give Vite and what is made of it their options.
var viteConfig = []string{"vite.config.js", "vite.config.ts", "vite.config.mjs", "vite.config.mts", "vite.config.cjs", "vite.config.cts"}

const (
	// runningGo is for a build from a cold cache; Rust's takes longer.
	runningGo   = 60 * time.Second
	runningRust = 5 * time.Minute
	// bootingRails is a cold start of a middling application on 2 busy cores.
	bootingRails = 30 * time.Second
)

// nodeRuns are the programs that run a JavaScript or TypeScript file.
func nodeRuns() []run {
	var out []run
	for _, program := range []string{"node", "nodemon", "tsx", "ts-node", "ts-node-dev", "bun", "deno"} {
		out = append(out, run{program: program, serves: []string{fileArgument}, loose: true})
	}
	return out
}

// fileArgument, among a run's subcommands, is a file: a word with a dot or a
// slash in it.
const fileArgument = "."

// Presets is every framework, those that are told by a dependency before those
// that share their program.
var Presets = []Preset{
	{Name: "next", Title: "Next.js", Tested: true, Port: 3000, Within: CompilingWithin, Compiles: true, readsPORT: true,
		runs:   []run{{program: "next", serves: []string{"", "dev"}}, {program: "next", serves: []string{"start"}, built: true}},
		Caches: []string{".next", "node_modules/.cache"}, Lockfiles: nodeLocks,
		Reloads: []string{"next.config.*", ".env*"}},
	{Name: "nuxt", Title: "Nuxt", Tested: true, Port: 3000, Within: CompilingWithin, Compiles: true, readsPORT: true,
		runs: []run{{program: "nuxt", serves: []string{"", "dev"}}, {program: "nuxt", serves: []string{"start", "preview"}, built: true},
			{program: "nuxi", serves: []string{"dev"}}, {program: "nuxi", serves: []string{"start", "preview"}, built: true}},
		Caches: []string{".nuxt", "node_modules/.cache", "node_modules/.vite"}, Lockfiles: nodeLocks,
		Reloads: []string{"nuxt.config.*", ".env"}},
	{Name: "astro", Title: "Astro", Tested: true, Port: 4321, Within: CompilingWithin, Compiles: true, portArgs: []string{"--port", "$PORT"},
		runs:   []run{{program: "astro", serves: []string{"dev", "start"}}, {program: "astro", serves: []string{"preview"}, built: true}},
		Caches: []string{"node_modules/.astro", "node_modules/.vite"}, Lockfiles: nodeLocks,
		Reloads: []string{"astro.config.*", ".env*"},
		sources: []string{"astro.config.mjs", "astro.config.ts", "astro.config.js", "astro.config.mts"}, number: viteNumber},
	{Name: "sveltekit", Title: "SvelteKit", Tested: true, Port: 5173, Within: CompilingWithin, Compiles: true, portArgs: []string{"--port", "$PORT", "--strictPort"},
		runs: []run{{program: "vite", serves: []string{"", "dev", "serve"}}}, depends: []string{"@sveltejs/kit"},
		Caches: []string{".svelte-kit", "node_modules/.vite"}, Lockfiles: nodeLocks,
		Reloads: []string{"vite.config.*", "svelte.config.*", ".env*"},
		sources: viteConfig, number: viteNumber},
	{Name: "remix", Title: "Remix", Port: 3000, Within: CompilingWithin, Compiles: true, readsPORT: true,
		runs:   []run{{program: "remix", serves: []string{"dev", "vite:dev"}}},
		Caches: []string{"node_modules/.vite", "node_modules/.cache"}, Lockfiles: nodeLocks, Reloads: []string{"vite.config.*", ".env*"}},
	{Name: "react-router", Title: "React Router", Port: 5173, Within: CompilingWithin, Compiles: true, portArgs: []string{"--port", "$PORT", "--strictPort"},
		runs:   []run{{program: "react-router", serves: []string{"dev"}}},
		Caches: []string{"node_modules/.vite"}, Lockfiles: nodeLocks, Reloads: []string{"vite.config.*", "react-router.config.*", ".env*"},
		sources: viteConfig, number: viteNumber},
	{Name: "vite", Title: "Vite", Tested: true, Port: 5173, Within: CompilingWithin, Compiles: true, portArgs: []string{"--port", "$PORT", "--strictPort"},
		runs:   []run{{program: "vite", serves: []string{"", "dev", "serve"}}},
		Caches: []string{"node_modules/.vite"}, Lockfiles: nodeLocks, Reloads: []string{"vite.config.*", ".env*"},
		sources: viteConfig, number: viteNumber},
	{Name: "vite-preview", Title: "Vite's preview", Port: 4173, portArgs: []string{"--port", "$PORT", "--strictPort"},
		runs: []run{{program: "vite", serves: []string{"preview"}, built: true}}, Lockfiles: nodeLocks, Restart: []string{"vite.config.*"}},
	{Name: "create-react-app", Title: "Create React App", Port: 3000, Within: CompilingWithin, Compiles: true, readsPORT: true, dotenv: true,
		runs:   []run{{program: "react-scripts", serves: []string{"start"}}},
		Caches: []string{"node_modules/.cache"}, Lockfiles: nodeLocks, Restart: []string{".env*"}},
	{Name: "angular", Title: "Angular", Port: 4200, Within: CompilingWithin, Compiles: true, portArgs: []string{"--port", "$PORT"},
		runs:   []run{{program: "ng", serves: []string{"serve", "s"}}},
		Caches: []string{".angular/cache"}, Lockfiles: nodeLocks, Restart: []string{"angular.json"}},
	{Name: "gatsby", Title: "Gatsby", Port: 8000, Within: CompilingWithin, Compiles: true, portArgs: []string{"--port", "$PORT"},
		runs:   []run{{program: "gatsby", serves: []string{"develop"}}},
		Caches: []string{".cache"}, Lockfiles: nodeLocks, Restart: []string{"gatsby-config.*", "gatsby-node.*", ".env*"}},
	{Name: "vue-cli", Title: "Vue CLI", Port: 8080, Within: CompilingWithin, Compiles: true, portArgs: []string{"--port", "$PORT"},
		runs:   []run{{program: "vue-cli-service", serves: []string{"serve"}}},
		Caches: []string{"node_modules/.cache"}, Lockfiles: nodeLocks, Restart: []string{"vue.config.*", ".env*"}},
	{Name: "docusaurus", Title: "Docusaurus", Port: 3000, Within: CompilingWithin, Compiles: true, portArgs: []string{"--port", "$PORT"},
		runs:   []run{{program: "docusaurus", serves: []string{"start"}}},
		Caches: []string{".docusaurus", "node_modules/.cache"}, Lockfiles: nodeLocks, Reloads: []string{"docusaurus.config.*", "sidebars.*"}},
	{Name: "parcel", Title: "Parcel", Port: 1234, Within: CompilingWithin, Compiles: true, portArgs: []string{"--port", "$PORT"},
		runs:   []run{{program: "parcel", serves: []string{"", "serve"}}},
		Caches: []string{".parcel-cache"}, Lockfiles: nodeLocks, Reloads: []string{".parcelrc", ".env*"}},
	{Name: "webpack", Title: "webpack", Port: 8080, Within: CompilingWithin, Compiles: true, portArgs: []string{"--port", "$PORT"},
		runs:   []run{{program: "webpack", serves: []string{"serve"}}, {program: "webpack-dev-server", serves: []string{""}}},
		Caches: []string{"node_modules/.cache"}, Lockfiles: nodeLocks, Restart: []string{"webpack.config.*"}},
	{Name: "eleventy", Title: "Eleventy", Port: 8080, portArgs: []string{"--port", "$PORT"},
		runs: []run{{program: "eleventy", serves: []string{""}}}, Lockfiles: nodeLocks},
	{Name: "nest", Title: "NestJS", Tested: true, Port: 3000, Within: CompilingWithin, Compiles: true, readsPORT: true, dotenv: true,
		runs:      []run{{program: "nest", serves: []string{"start"}}},
		Lockfiles: nodeLocks, Restart: []string{"nest-cli.json", ".env*"},
		sources: []string{"src/main.ts", "src/main.js"}, asks: nodeAsks, number: nodeNumber},
	{Name: "fastify", Title: "Fastify", Tested: true, Port: 3000, readsPORT: true, dotenv: true,
		runs: append(nodeRuns(), run{program: "fastify", serves: []string{"start"}}), depends: []string{"fastify"},
		Lockfiles: nodeLocks, Restart: []string{".env*"}, ownSource: true, asks: nodeAsks, number: nodeNumber, sourceOnly: true},
	{Name: "express", Title: "Express", Tested: true, Port: 3000, readsPORT: true, dotenv: true,
		runs: nodeRuns(), depends: []string{"express"},
		Lockfiles: nodeLocks, Restart: []string{".env*"}, ownSource: true, asks: nodeAsks, number: nodeNumber, sourceOnly: true},
	{Name: "django", Title: "Django", Tested: true, Port: 8000,
		runs:      []run{{program: "manage.py", serves: []string{"runserver"}}},
		Lockfiles: pythonLocks, Restart: []string{".env*"},
		marks: []mark{{file: "manage.py", has: regexp.MustCompile(`\bdjango\b`), command: []string{"{python}", "manage.py", "runserver", "$PORT"}}}},
	{Name: "fastapi", Title: "FastAPI", Tested: true, Port: 8000,
		runs:      []run{{program: "uvicorn", serves: []string{fileArgument, colonArgument}, loose: true}, {program: "fastapi", serves: []string{"dev", "run"}}},
		Lockfiles: pythonLocks, Restart: []string{".env*"},
		marks: fastAPI("main.py", "app.py", "app/main.py", "src/main.py")},
	{Name: "flask", Title: "Flask", Tested: true, Port: 5000,
		runs:      []run{{program: "flask", serves: []string{"run"}, loose: true}},
		Lockfiles: pythonLocks, Restart: []string{".env*", ".flaskenv"},
		marks: flask("app.py", "wsgi.py", "main.py")},
	{Name: "rails", Title: "Ruby on Rails", Port: 3000, Within: bootingRails, Compiles: true, readsPORT: true,
		runs:   []run{{program: "rails", serves: []string{"server", "s"}}},
		Caches: []string{"tmp/cache"}, Lockfiles: []string{"Gemfile.lock"},
		Restart: []string{"config/*.rb", "config/*.yml", "config/environments/*.rb", "config/initializers/*.rb", ".env*"},
		marks:   []mark{{file: "Gemfile", has: regexp.MustCompile(`(?m)^\s*gem\s*\(?\s*["']rails["']`), with: "bin/rails", command: []string{"bin/rails", "server"}}}},
	{Name: "laravel", Title: "Laravel", Port: 8000,
		runs:      []run{{program: "artisan", serves: []string{"serve"}}},
		Lockfiles: []string{"composer.lock"}, Reloads: []string{".env"},
		marks: []mark{{file: "composer.json", has: regexp.MustCompile(`"laravel/framework"`), with: "artisan", command: []string{"php", "artisan", "serve", "--port", "$PORT"}}}},
	{Name: "go", Title: "Go", Tested: true, Port: 8080, Within: runningGo, readsPORT: true,
		runs:      []run{{program: "go", serves: []string{"run"}}},
		Lockfiles: []string{"go.sum"}, Restart: []string{"go.mod", ".env*"},
		sources: []string{"main.go"}, ownSource: true, asks: goAsks, number: goNumber, sourceOnly: true,
		marks: []mark{{file: "main.go", with: "go.mod", has: goListens, command: []string{"go", "run", "."}},
			{file: "cmd/*/main.go", with: "go.mod", has: goListens, command: []string{"go", "run", "./cmd/{folder}"}}}},
	{Name: "rust", Title: "Rust", Port: 8080, Within: runningRust, readsPORT: true,
		runs:      []run{{program: "cargo", serves: []string{"run"}}},
		Lockfiles: []string{"Cargo.lock"}, Restart: []string{"Cargo.toml", ".env*"},
		sources: []string{"src/main.rs"}, asks: rustAsks, number: rustNumber, sourceOnly: true,
		marks: []mark{{file: "Cargo.toml", with: "src/main.rs", has: regexp.MustCompile(`(?m)^\s*(?:axum|actix-web|rocket|warp|poem|salvo|tide|hyper)\b`), command: []string{"cargo", "run"}}}},
}

// colonArgument, among a run's subcommands, is module:name as ASGI servers take it.
const colonArgument = ":"

func fastAPI(files ...string) []mark {
	made := regexp.MustCompile(`(?m)^(\w+)\s*(?::[^=\n]+)?=\s*(?:fastapi\.)?FastAPI\(`)
	var out []mark
	for _, f := range files {
		out = append(out, mark{file: f, has: made, command: []string{"{python}", "-m", "uvicorn", "{module}:{1}", "--reload", "--port", "$PORT"}})
	}
	return out
}

// flask: `flask --debug run`, not `flask run --debug`, which came with 2.2.3.
func flask(files ...string) []mark {
	made := regexp.MustCompile(`\bFlask\(`)
	var out []mark
	for _, f := range files {
		out = append(out, mark{file: f, has: made, command: []string{"{python}", "-m", "flask", "--app", "{module}", "--debug", "run", "--port", "$PORT"}})
	}
	return out
}

// NoPreset, as the value of `preset:`, is none.
const NoPreset = "none"

// LookupPreset finds a preset by its name.
func LookupPreset(name string) (*Preset, bool) {
	i := slices.IndexFunc(Presets, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return nil, false
	}
	return &Presets[i], true
}

// presetNames are the values of `preset:`.
func presetNames() []string {
	var out []string
	for i := range Presets {
		out = append(out, Presets[i].Name)
	}
	slices.Sort(out)
	return append(out, NoPreset)
}

// fits reports whether the words after the program make it serve.
func (r run) fits(after []string) bool {
	sub := ""
	if len(after) > 0 && !strings.HasPrefix(after[0], "-") {
		sub = after[0]
	}
	for _, s := range r.serves {
		switch {
		case s == sub, s == "" && strings.ContainsAny(sub, "./"): // no subcommand, but an argument, such as a directory
			return true
		case !r.loose:
		case s == fileArgument && slices.ContainsFunc(after, sourceFile):
			return true
		case s == colonArgument && slices.ContainsFunc(after, func(w string) bool { return strings.Contains(w, ":") }):
			return true
		case slices.Contains(after, s):
			return true
		}
	}
	return false
}

// sourceFile reports whether a word of a command is a file of a program.
func sourceFile(word string) bool {
	if strings.HasPrefix(word, "-") {
		return false
	}
	i := strings.LastIndexByte(word, '.')
	return i > 0 && slices.Contains([]string{"js", "cjs", "mjs", "ts", "cts", "mts", "jsx", "tsx"}, word[i+1:])
}
