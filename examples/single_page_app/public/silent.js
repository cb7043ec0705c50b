// Runs in a hidden frame: hands the provider's answer to the page around it.
import { userManager } from "./user_manager.js";

await userManager.signinSilentCallback();
