import NextAuth from "next-auth";

export const options = {
  secret: process.env.NEXTAUTH_SECRET,
  providers: [
    {
      id: "provider",
      name: "Provider",
      type: "oauth",
      wellKnown: `${process.env.ISSUER}/.well-known/openid-configuration`,
      authorization: { params: { scope: "openid profile email" } },
      // It makes the person from the ID token, and never asks UserInfo then.
      idToken: true,
      // It has no PKCE unless it is told.
      checks: ["pkce", "state"],
      clientId: process.env.CLIENT_ID,
      clientSecret: process.env.CLIENT_SECRET,
      profile: (claims) => ({ id: claims.sub, name: claims.preferred_username, email: claims.email }),
    },
  ],
  callbacks: {
    jwt: ({ token, account }) => (account ? { ...token, refreshToken: account.refresh_token } : token),
    session: ({ session, token }) => ({ ...session, refreshToken: token.refreshToken }),
  },
};

export default NextAuth(options);
