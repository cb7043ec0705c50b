import { getServerSession } from "next-auth/next";
import { options } from "./api/auth/[...nextauth]";

export async function getServerSideProps({ req, res }) {
  const session = await getServerSession(req, res, options);
  return { props: { person: session?.user ?? null, refreshes: globalThis.refreshes ?? 0 } };
}

export default function Home({ person, refreshes }) {
  if (person === null) return <a href="/api/auth/signin">Sign in</a>;
  return (
    <>
      <b id="username">{person.name}</b> <i id="email">{person.email}</i> <i id="refreshes">{refreshes}</i>
    </>
  );
}
