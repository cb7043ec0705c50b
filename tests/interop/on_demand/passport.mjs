// passport-openidconnect in an Express app. It knows no discovery, no PKCE and no refresh.
import express from "express";
import session from "express-session";
import passport from "passport";
import OpenIDConnectStrategy from "passport-openidconnect";
import { home, port } from "./pages.mjs";

const { ISSUER, CLIENT_ID, CLIENT_SECRET, BASE_URL } = process.env;

passport.use(
  new OpenIDConnectStrategy(
    {
      issuer: ISSUER,
      authorizationURL: `${ISSUER}/oauth/authorize`,
      tokenURL: `${ISSUER}/oauth/token`,
      userInfoURL: `${ISSUER}/oauth/userinfo`,
      clientID: CLIENT_ID,
      clientSecret: CLIENT_SECRET,
      callbackURL: `${BASE_URL}/callback`,
      scope: ["profile", "email"],
      // Otherwise it asks UserInfo for nothing and knows the subject alone.
      skipUserProfile: false,
    },
    (issuer, profile, done) => done(null, { preferred_username: profile.username, email: profile.emails[0].value }),
  ),
);
passport.serializeUser((user, done) => done(null, user));
passport.deserializeUser((user, done) => done(null, user));

const app = express();
app.use(session({ secret: "interop", resave: false, saveUninitialized: false }));
app.use(passport.session());
app.get("/", (request, response) => response.send(home(request.user)));
app.get("/login", passport.authenticate("openidconnect"));
app.get("/callback", passport.authenticate("openidconnect", { successRedirect: "/", failureRedirect: "/failed" }));
app.post("/logout", (request, response, next) => request.logout((error) => (error ? next(error) : response.redirect("/"))));
app.listen(port, "127.0.0.1");
