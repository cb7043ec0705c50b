// A Go app that people sign in to by OpenID Connect: code flow with PKCE, refresh, sign-out.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Session is what the app knows of one browser. It stands in memory, and the browser has its id alone.
type Session struct {
	// Until the person is back from the provider.
	State, Nonce, Verifier string
	// From then on.
	Person    *Person
	IDToken   string
	Token     *oauth2.Token
	Refreshes int
}

// Person holds the claims that the app shows, and whose they are.
type Person struct {
	Subject  string `json:"sub"`
	Username string `json:"preferred_username"`
	Email    string `json:"email"`
}

type app struct {
	baseURL            string
	provider           *oidc.Provider
	verifier           *oidc.IDTokenVerifier
	oauth2             oauth2.Config
	endSessionEndpoint string

	mutex    sync.Mutex
	sessions map[string]Session
}

var page = template.Must(template.New("page").Parse(`<!doctype html><html lang="en"><title>Example</title><h1>Example</h1>
{{with .Person}}<p>Hello, <b id="username">{{.Username}}</b> (<span id="email">{{.Email}}</span>).</p>
<form method="post" action="/refresh"><button>Refresh</button> <span id="refreshes">{{$.Refreshes}}</span></form>
<form method="post" action="/logout"><button>Sign out</button></form>
{{else}}<p><a id="sign-in" href="/login">Sign in</a></p>{{end}}</html>`))

func main() {
	baseURL := os.Getenv("BASE_URL")
	if baseURL == "" {
		baseURL = "http://localhost:3000"
	}
	provider, err := oidc.NewProvider(context.Background(), os.Getenv("ISSUER"))
	if err != nil {
		log.Fatal(err)
	}
	var metadata struct {
		EndSessionEndpoint string `json:"end_session_endpoint"`
	}
	if err := provider.Claims(&metadata); err != nil {
		log.Fatal(err)
	}
	clientID := os.Getenv("CLIENT_ID")
	a := &app{
		baseURL:  baseURL,
		provider: provider,
		verifier: provider.Verifier(&oidc.Config{ClientID: clientID}),
		oauth2: oauth2.Config{
			ClientID:     clientID,
			ClientSecret: os.Getenv("CLIENT_SECRET"),
			Endpoint:     provider.Endpoint(),
			RedirectURL:  baseURL + "/callback",
			Scopes:       []string{oidc.ScopeOpenID, "profile", "email"},
		},
		endSessionEndpoint: metadata.EndSessionEndpoint,
		sessions:           map[string]Session{},
	}
	http.HandleFunc("GET /{$}", a.home)
	http.HandleFunc("GET /login", a.login)
	http.HandleFunc("GET /callback", a.callback)
	http.HandleFunc("POST /refresh", a.refresh)
	http.HandleFunc("POST /logout", a.logout)

	base, err := url.Parse(baseURL)
	if err != nil {
		log.Fatal(err)
	}
	server := http.Server{Addr: "127.0.0.1:" + base.Port(), ReadHeaderTimeout: 5 * time.Second}
	log.Printf("open %s/", baseURL)
	log.Fatal(server.ListenAndServe())
}

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	if err := page.Execute(w, a.session(r)); err != nil {
		log.Print(err)
	}
}

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	session := Session{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	a.begin(w, r, session)
	http.Redirect(w, r, a.oauth2.AuthCodeURL(session.State, oidc.Nonce(session.Nonce),
		oauth2.S256ChallengeOption(session.Verifier)), http.StatusFound)
}

func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	session, query := a.session(r), r.URL.Query()
	if session.State == "" || query.Get("state") != session.State {
		a.fail(w, errors.New("this sign-in was not started here"))
		return
	}
	// The person said no, or the provider could not let them in.
	if code := query.Get("error"); code != "" {
		a.fail(w, errors.New(strconv.Quote(code)))
		return
	}
	token, err := a.oauth2.Exchange(r.Context(), query.Get("code"), oauth2.VerifierOption(session.Verifier))
	if err != nil {
		a.fail(w, err)
		return
	}
	raw, _ := token.Extra("id_token").(string)
	// Checks signature, issuer, audience and expiry; the nonce and at_hash are the app's to check.
	idToken, err := a.verifier.Verify(r.Context(), raw)
	if err == nil && idToken.Nonce != session.Nonce {
		err = errors.New("the ID token answers another request")
	}
	if err == nil {
		err = idToken.VerifyAccessToken(token.AccessToken)
	}
	if err != nil {
		a.fail(w, err)
		return
	}
	person, err := a.person(r.Context(), token, idToken.Subject)
	if err != nil {
		a.fail(w, err)
		return
	}
	// A new session id, so that one that somebody knew before the sign-in is worth nothing after it.
	a.begin(w, r, Session{Person: person, IDToken: raw, Token: token})
	http.Redirect(w, r, "/", http.StatusFound)
}

func (a *app) refresh(w http.ResponseWriter, r *http.Request) {
	session := a.session(r)
	if session.Token == nil || session.Token.RefreshToken == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	// Without an access token it cannot be taken for fresh. What comes back holds the next refresh token.
	stale := &oauth2.Token{RefreshToken: session.Token.RefreshToken}
	token, err := a.oauth2.TokenSource(r.Context(), stale).Token()
	if err != nil {
		a.fail(w, err)
		return
	}
	session.Token = token
	session.Refreshes++
	person, err := a.person(r.Context(), token, session.Person.Subject)
	if err == nil {
		session.Person = person
	}
	// Whatever UserInfo says: the refresh token of before is spent.
	a.begin(w, r, session)
	if err != nil {
		a.fail(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	session := a.session(r)
	a.begin(w, r, Session{})
	// Ends the session at the provider, too, where it offers that.
	if session.IDToken == "" || a.endSessionEndpoint == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	parameters := url.Values{"id_token_hint": {session.IDToken}, "post_logout_redirect_uri": {a.baseURL + "/"}}
	http.Redirect(w, r, a.endSessionEndpoint+"?"+parameters.Encode(), http.StatusSeeOther)
}

// person asks UserInfo. The answer has to be about `subject` (OpenID Connect Core §5.3.2).
func (a *app) person(ctx context.Context, token *oauth2.Token, subject string) (*Person, error) {
	info, err := a.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, err
	}
	if info.Subject != subject {
		return nil, errors.New("UserInfo is about somebody else")
	}
	var person Person
	return &person, info.Claims(&person)
}

func (a *app) session(r *http.Request) Session {
	cookie, err := r.Cookie("session")
	if err != nil {
		return Session{}
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.sessions[cookie.Value]
}

// begin replaces the browser's session, and its id, by a new one.
func (a *app) begin(w http.ResponseWriter, r *http.Request, session Session) {
	id := rand.Text()
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if cookie, err := r.Cookie("session"); err == nil {
		delete(a.sessions, cookie.Value)
	}
	a.sessions[id] = session
	// Lax, because the provider's redirect back to /callback has to bring this cookie along.
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id, Path: "/", HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(a.baseURL, "https:")})
}

func (a *app) fail(w http.ResponseWriter, err error) {
	log.Print(err)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprint(w, `<p id="failed">That did not work. <a href="/">Begin again</a></p>`)
}
